"""Django, configured once a process: a project without a file. Import this before any test sets its urls."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

urlpatterns: list[Any] = []

if not settings.configured:
    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",  # signs nothing here
        ROOT_URLCONF=__name__,
        LOGGING_CONFIG=None,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        CORS_ALLOW_ALL_ORIGINS=True,
        CORS_EXPOSE_HEADERS=[],
        INSTALLED_APPS=["corsheaders"],
    )
    django.setup()

configured = settings.configured

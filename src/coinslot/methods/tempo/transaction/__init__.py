"""Transactions of type 0x76: what they hold (`fields`), how they are written (`build`) and read (`read`)."""

"""The version of this package, written once: the build reads it from here, and nothing is looked up at run time."""

VERSION = "0.1.0"

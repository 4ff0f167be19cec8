"""Every file that is kept or handed on: types, strict reading, whole writing, and where it lies."""

"""Images in, views and masks out."""

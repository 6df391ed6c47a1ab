"""Views and masks, drawn on the device."""

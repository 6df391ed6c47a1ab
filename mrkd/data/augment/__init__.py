"""Random views and masks, computed on the device."""

"""The sections of the settings, one file each, named as the section."""

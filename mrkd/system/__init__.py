"""The operating system and the terminal: files, signals, printed text, progress, CPU cores, memory."""

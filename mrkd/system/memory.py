"""Recognise errors that mean too little memory: of the machine, of a container, or under a limit."""

_PHRASES = (
    "out of memory",  # CUDA, and the allocator of a C library
    "can't allocate memory",  # torch on the CPU
    "cannot allocate memory",  # the operating system
    "failed to map segment",  # a library that does not fit any more
    "can't start new thread",
)


def lacks_memory(error: BaseException) -> bool:
    """Whether the error, of whatever type, says that memory could not be had."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | ImportError | OSError) and any(phrase in text for phrase in _PHRASES)

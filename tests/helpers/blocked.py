"""Code for processes in which packages are missing."""


def without(*packages: str) -> str:
    """Lines of Python after which no finder finds these packages, as if they were not installed."""
    return f"""
import sys
class _Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {packages!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(_Without, sys.meta_path)
"""

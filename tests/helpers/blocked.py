"""Code for processes in which packages are missing."""


def without(*packages: str) -> str:
    """Lines of Python after which none of these packages can be imported, nor its absence be overlooked."""
    return f"""
import sys
class _Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, _Missing())
"""

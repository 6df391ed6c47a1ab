"""What was learnt, in the forms that other tools read; each is read back and compared before it is put in place."""

from mrkd.exporting.export import Exported, export

__all__ = ["Exported", "export"]

"""What a Python user touches: `pretrain` and `compare` by keywords, and the objects that they return.

`mrkd.pretrain` returns a `Run`, `mrkd.compare` a `Comparison`; both can be used wherever the path of their directory
can. The other verbs are functions of the folders below.
"""

"""The Python interface: `pretrain` and `compare`, which take settings as keywords, and the objects that they return.

`mrkd.pretrain` returns a `Run`, `mrkd.compare` a `Comparison`; both can be used wherever the path of their directory
can. The other verbs are functions of the folders below.
"""

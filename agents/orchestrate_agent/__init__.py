"""The per-node agent: one zipapp, standard library only, Python 3.8 or later.

Imports nothing of ``orchestrator``. ``protocol`` fixes what travels, ``daemon`` runs trials,
``spool`` remembers, ``relay`` carries lines between stdio and the daemon's socket, ``blobs``
receives files, ``process`` runs one trial, ``facts`` and ``health`` say what the node is and how
it fares. ``litert`` and ``torch_child`` are the children that measure a model in the device's own
Python, ``measuring`` what they share. ``course`` says what runs next, for the controller and for
``standalone``, which runs a ``bundle`` where there is none.
"""

"""The per-node agent: one zipapp, standard library only, Python 3.8 or later.

It imports nothing of ``orchestrator``. ``protocol`` fixes what travels; ``contents`` says of which
modules the zipapp is made. ``daemon/`` runs trials, remembers what happened (``spool``) and carries
lines between stdio and its socket (``relay``). ``machine/`` says what the node is and how it fares,
and brings it into the state that is asked for. ``process/`` runs one trial, ``files/`` receives and
unpacks what trials need, ``android/`` speaks for a device behind adb. ``children/`` are the
programs that measure a model in the device's own Python. ``course`` says what runs next, for the
controller and for ``carried/``, which runs a bundle where there is no controller.
"""

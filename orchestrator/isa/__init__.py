"""The factor ``isa``: one process sees an older CPU's instruction set, at the speed of this one.

``levels`` is the table of what each level has, ``proof`` what the process says of itself,
``build`` makes the object that answers CPUID out of ``cap_cpuid.c`` and what that includes. It caps
what CPUID answers and nothing else: caches, clocks and port counts stay those of the real CPU.
"""

"""What tests share: small networks and worlds, folders of models, fake devices, the host in this process.

`tests` itself is no package (an __init__.py would make pytest import the one above it, the host's entry point), but
`tests.helpers` is, so that it stays found where a host with a folder `tests` of its own comes first in `sys.path`.
"""

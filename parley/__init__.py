"""The kernel of Parley: what every room may use, and nothing that imports the rooms.

Bot files (:mod:`parley.bot`), bundle manifests and digests (:mod:`parley.bundle`), G.711 and audio files
(:mod:`parley.g711`, :mod:`parley.audio`), settings, run directories, and the engines that execute a version
(:mod:`parley.serving`). Nothing here imports torch.
"""

__version__ = "0.1.0"

"""The world of the miniature model: scenes of simple shapes that a program draws, words and checks.

``scene`` makes scenes, ``drawing`` draws them, ``captions`` and ``questions`` put them into words,
``reader`` reads a picture back, ``prompts`` says what a picture of a prompt must show. Everything
is seeded and needs numpy and Pillow; only ``reader`` needs scipy.
"""

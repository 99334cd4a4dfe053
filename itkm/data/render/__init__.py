"""Renders the default data: persons with 3D bodies, clothes, bags and hats, seen by cameras that differ.

`settings.py` names the numbers, `wardrobe.py` draws who a person is, `body.py`, `pose.py` and `garments.py` give the
geometry, `draw.py`, `background.py` and `camera.py` make the picture, `captions.py` the words, `dataset.py` the data
sets, `pack.py` the rows and files of a scenario.
Nothing heavy is imported here: import `itkm.data.render.dataset` for the functions.
"""

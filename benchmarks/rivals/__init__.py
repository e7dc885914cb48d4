"""The methods that RectifID's paper compares itself with, and later ones, each in its smallest honest form on the
embedded flow.  One file each, with its source; `basis.py` has what they share."""

import world as world  # it says where the modules of demo/ are found

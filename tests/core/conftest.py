import sys
from pathlib import Path

# For `rectifid_core` and for `worlds`, the small worlds that these tests share.  Appended: nothing gets shadowed.
HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1]), str(HERE)]

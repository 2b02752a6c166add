"""Tables, figures and the report of a run, made from its records alone."""

import logging

# Where the home cannot be written, Matplotlib uses another folder and says so at length.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

"""Calibrators, one file each: logits in, better logits out.

The file ``platt_scaling.py`` holds the class ``PlattScaling``; ``calibrate`` and the command line
find it by that.
"""

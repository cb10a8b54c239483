"""Decision rules, one file each: calibrated logits in, labels out.

The file ``top_k.py`` holds the class ``TopK``; ``calibrate`` and the command line find it by that.
"""

"""The services of the *services* profile as plain processes of one machine, one module each.

Everything listens on loopback, lives below one folder and is recorded there by pid and start time.
"""

"""Floor 5: one function a stage, from references and a config to a reference.

`line.py` says which stages there are, what each takes and where its function is; `launch.py` decides whether a
result is reused, made in this process or made by a Ray job; `run.py` is the entry that all three share.
Binds the Protocols of lower rooms to Ray and MLflow. Importing this package loads nothing heavy.
"""

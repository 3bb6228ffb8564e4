"""Running work on processes and machines, knowing no domain names; the only door to Ray.

`session` starts Ray on this machine or attaches to the cluster around; `train` runs one function as a process group;
`shards` maps a function over items; `jobs` submits commands to a cluster. Importing the room never imports Ray.
May import lsr.core.
"""

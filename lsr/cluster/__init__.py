"""Running work on processes and machines, knowing no domain names. All of LSR's use of Ray is here.

`session` starts Ray on this machine or attaches to the cluster around; `train` runs one function as a process group;
`shards` maps a function over items; `jobs` submits commands to a cluster. Importing the package never imports Ray.
"""

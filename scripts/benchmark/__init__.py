"""What `scripts/bench` is made of; `scripts/capacity` uses its clients, people and meters.

`stand` starts servers, `bare` and `watched` are two of them. `crowd` and `changer` are processes of their own
(`helper`) that hold sockets and change pairings in Redis; `clients` and `people` send the calls, `meters` reads. What
the lines of the table measure is in `waiting`, `pushes`, `answers` and `starting`, how they are shown in `table`.
"""

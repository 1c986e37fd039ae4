"""What `scripts/bench` is made of; `scripts/capacity` uses its clients, people and meters.

`stand` starts servers, `bare` and `watched` are two of them. `crowd` and `ringer` are processes of their own (`helper`)
that hold sockets and ring Redis; `clients` and `people` are what asks, `meters` what reads. What the lines of the table
measure is in `waiting`, `pushes`, `answers` and `starting`, how they are shown in `table`.
"""

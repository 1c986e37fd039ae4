-- A record and the clock (ms) that judges it, in one step. KEYS[1] pairing.
local time = redis.call('TIME')
return {redis.call('HGET', KEYS[1], 'record'), time[1] * 1000 + math.floor(time[2] / 1000)}

-- A record and the clock that judges it, in one step. KEYS[1] pairing.
return {redis.call('HGET', KEYS[1], 'record'), redis.call('TIME')}

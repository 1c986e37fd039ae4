-- Compare-and-set with the deadline on Redis's own clock, and the bell, which says the clock and the new record, in
-- one step.
-- KEYS[1] pairing, also its channel. ARGV: old version, new version, new record, new deadline (ms), time to live
-- after the deadline (ms), "1" if the new state is final, the command that rings. Answers 1, or 0 with nothing changed.
local stored = redis.call('HMGET', KEYS[1], 'version', 'deadline')
if stored[1] ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now >= tonumber(stored[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'record', ARGV[3], 'deadline', ARGV[4])
local ends = tonumber(ARGV[4])
if ARGV[6] == '1' then
  ends = now
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends + tonumber(ARGV[5])))
redis.call(ARGV[7], KEYS[1], string.format('%.0f ', now) .. ARGV[3])
return 1

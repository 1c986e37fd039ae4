-- Compare-and-set with the deadline on Redis's own clock, the message, which has that clock and the new record, and the
-- indexes, in one step.
-- KEYS: pairing, also its channel; then live-pairings, and open-of:… if an entry has to come or go. In a Cluster, where
-- indexes live on other servers, the pairing alone. ARGV: old version, new version, new record, new deadline (ms), time
-- to live after the deadline (ms), "1" if the new state is final, the command that publishes, id, time to live of an
-- index (ms). Answers 1, or 0 with nothing changed.
local pairing, live, open = KEYS[1], KEYS[2], KEYS[3]
local stored = redis.call('HMGET', pairing, 'version', 'deadline')
if stored[1] ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now >= tonumber(stored[2]) then
  return 0
end
local final, id, lasts = ARGV[6] == '1', ARGV[8], ARGV[9]

local function ms(number)
  return string.format('%.0f', number)
end

if open and not final then
  -- As in `add.lua`. Before all else: should it fail, nothing has changed.
  redis.call('ZADD', open, ms(now), id)
  redis.call('ZREMRANGEBYSCORE', open, '-inf', ms(now - lasts))
  redis.call('PEXPIRE', open, lasts)
end
redis.call('HSET', pairing, 'version', ARGV[2], 'record', ARGV[3], 'deadline', ARGV[4])
local ends = tonumber(ARGV[4])
if final then
  ends = now
end
redis.call('PEXPIREAT', pairing, ms(ends + tonumber(ARGV[5])))
redis.call(ARGV[7], pairing, ms(now) .. ' ' .. ARGV[3])
-- From here on the swap has been made: a failure must not say otherwise, and an index that lags is harmless.
if live and final then
  redis.pcall('ZREM', live, id)
  if open then
    redis.pcall('ZREM', open, id)
  end
elseif live then
  redis.pcall('ZADD', live, 'XX', ARGV[4], id)
end
return 1

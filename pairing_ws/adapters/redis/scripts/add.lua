-- A new pairing under all the keys given, or under none: its record, its user code, the index of live pairings and that
-- of its approver's device. In a Cluster, where they live on different servers, each is given by itself.
-- KEYS, in any order: pairing:…, user-code:…, live-pairings, open-of:…. ARGV: id, time to live of an index (ms), the
-- most live pairings (0: any number), time to live of the user code (ms), version, deadline and record (times in both
-- count from now, in ms), time to live after the deadline (ms).
-- Answers the clock (ms) that the pairing has begun on, or "full" or "taken" with nothing stored.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = {}
for _, name in ipairs(KEYS) do
  key[string.match(name, '^[a-z-]+')] = name
end
local pairing, code, live, open = key['pairing'], key['user-code'], key['live-pairings'], key['open-of']

local function ms(number)
  return string.format('%.0f', number)
end

local function enter(index, score, forgotten)
  redis.call('ZADD', index, ms(score), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', index, '-inf', ms(forgotten))
  redis.call('PEXPIRE', index, ARGV[2])
end

-- What forgets comes after what stores: once a script has changed something, a full Redis refuses it nothing any more.
local most = tonumber(ARGV[3])
if live and most > 0 and redis.call('ZCOUNT', live, '(' .. ms(now), '+inf') >= most then
  return 'full'
end
if code and not redis.call('SET', code, ARGV[1], 'PX', ARGV[4], 'NX') then
  return 'taken'
end
if live then
  enter(live, now + ARGV[6], now)
end
if open then
  -- Under the time of its entry, and for longer than any pairing lives: by which clock it ends, this server can't tell.
  enter(open, now, now - ARGV[2])
end
if pairing then
  -- A new record has two times; to look through all of it for more would take 6 µs of 25.
  local record = string.gsub(ARGV[7], '"(%l+_at)":(%-?%d+)', function(field, after)
    return '"' .. field .. '":' .. ms(now + after)
  end, 2)
  redis.call('HSET', pairing, 'version', ARGV[5], 'deadline', ms(now + ARGV[6]), 'record', record)
  redis.call('PEXPIREAT', pairing, ms(now + ARGV[6] + ARGV[8]))
end
return now

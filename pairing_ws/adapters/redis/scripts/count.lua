-- A rate as a sliding window: the count of the present window, and of the one before as much as still reaches into the
-- last `window` ms. KEYS[1]: the counter. ARGV: most in a window, window (ms), "1" to count one.
-- Answers 0 if there was room for one, else the ms until there is, with nothing counted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = redis.call('HMGET', KEYS[1], 'start', 'count', 'before')
local start, count, before = tonumber(stored[1]) or now, tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
if now >= start + 2 * window then
  start, count, before = now, 0, 0
elseif now >= start + window then
  start, count, before = start + window, 0, count
elseif now < start then
  -- The clock was set back: what was counted still counts.
  start = now
end
local ends = start + window
if math.floor(before * (ends - now) / window) + count >= most then
  if count >= most then
    return math.max(1, ends - now)
  end
  return math.max(1, math.floor(ends - now - (most - count) * window / before) + 1)
end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'start', string.format('%.0f', start), 'count', count + 1, 'before', before)
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends + window))
end
return 0

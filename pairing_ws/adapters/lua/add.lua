-- A new pairing and its time to live, in one step. KEYS[1] pairing. ARGV: version, deadline (ms), record, when it may
-- be forgotten (ms).
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'deadline', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1

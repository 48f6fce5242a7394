-- One call of one process for one scope; all of a scope's state is the one hash KEYS[1]:
--   log, base, run, last, stamp, snap, at (entry that the snapshot is after), e:N (an entry: "stamp text"), w:ID (a worker's last seq).
-- ARGV: verb, log, since, worker, seq, text, snapshot, snapshot at, milliseconds to keep, base, gone ...
-- Answers {kind, clock, log, base, last, moved, snapshot, snapshot at, first entry's number, entry, entry, ...}; numbers are text.
local key, verb, log, since = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end
-- Another life of the server, or another server: what it holds may be older than what it told before.
local run = ''
local info = redis.pcall('INFO', 'server')
if type(info) == 'string' then run = string.match(info, 'run_id:(%w+)') or '' end

local held = redis.call('HMGET', key, 'log', 'base', 'run', 'last', 'stamp', 'at', 'w:' .. ARGV[4])
if verb == 'found' and (not held[1] or held[1] == log) then
  redis.call('DEL', key)
  redis.call('HSET', key, 'log', ARGV[5], 'base', ARGV[10], 'run', run, 'last', ARGV[8], 'stamp', '0', 'at', ARGV[8], 'snap', ARGV[7])
  redis.call('PEXPIRE', key, ARGV[9])
  return {'ok', text(clock), ARGV[5], ARGV[10], ARGV[8], '0', '', '0', '0'}
end
if not held[1] then return {'none', text(clock)} end

local last, at = tonumber(held[4]), tonumber(held[6])
local moved = held[3] ~= run
local kind = 'ok'
if held[1] ~= log or moved or since > last then
  kind = 'other'
  if held[1] ~= log then since = -1 end
else
  if verb == 'say' and (tonumber(held[7] or '0') < tonumber(ARGV[5])) then
    -- The log's time never goes back, whatever the server's clock does.
    local stamp = math.max(tonumber(held[5]), clock - tonumber(held[2]))
    last = last + 1
    redis.call('HSET', key, 'last', text(last), 'stamp', text(stamp), 'e:' .. text(last), text(stamp) .. ' ' .. ARGV[6], 'w:' .. ARGV[4], ARGV[5])
    redis.call('PEXPIRE', key, ARGV[9])
  end
  local offered = tonumber(ARGV[8])
  if ARGV[7] ~= '' and offered > at and offered <= last then
    for number = at + 1, offered do redis.call('HDEL', key, 'e:' .. text(number)) end
    redis.call('HSET', key, 'snap', ARGV[7], 'at', ARGV[8])
    at = offered
  end
  for index = 11, #ARGV do redis.call('HDEL', key, 'w:' .. ARGV[index]) end
end
local whole = since < at or since > last
local from = whole and at or since
local answer = {kind, text(clock), held[1], held[2], text(last), moved and '1' or '0',
  whole and (redis.call('HGET', key, 'snap') or '') or '', whole and text(at) or '0', text(from + 1)}
local number = from + 1
while number <= last do
  local fields = {}
  local final = math.min(last, number + 499)
  for each = number, final do fields[#fields + 1] = 'e:' .. text(each) end
  for _, entry in ipairs(redis.call('HMGET', key, unpack(fields))) do answer[#answer + 1] = entry or '' end
  number = final + 1
end
return answer

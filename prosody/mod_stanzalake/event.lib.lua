-- Events: what happened to one archive, as one line of JSON (docs/protocol.md).

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" };
for code = 0, 31 do
	escapes[string.char(code)] = ("\\u%04x"):format(code);
end

local function escape(text)
	return (text:gsub('[\0-\31"\\]', escapes));
end

-- The position comes early: the journal finds it there again after a restart.
local LINE = '{"type":"message","v":1,"position":%d,"owner":"%s","peer":"%s","peer_resource":"%s",'
	..'"direction":"%s","kind":"%s","contact":%s,"stanza":"%s"}';

local function encode(message)
	return LINE:format(message.position, escape(message.owner), escape(message.peer),
		escape(message.peer_resource), message.direction, message.kind, message.contact, escape(message.stanza));
end

local function position_of(line)
	return math.tointeger(tonumber(line:match('"position":(%d+)')));
end

return { encode = encode, position_of = position_of };

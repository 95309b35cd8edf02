-- Positions, which give an archive its order, and the sealed ids that clients see of them (docs/protocol.md).

local hmac = require "util.hashes".hmac_sha256;
local base64 = require "util.encodings".base64.encode;

local SEQUENCE_BITS = 16;
local URL_SAFE = { ["+"] = "-", ["/"] = "_", ["="] = "" };

local sequence_mt = {};
sequence_mt.__index = sequence_mt;

-- One strictly increasing sequence for a host.
--   now: gives unix time in seconds; it may step back
--   last: the last position ever handed out
local function new_sequence(now, last)
	return setmetatable({ now = now, last = last }, sequence_mt);
end

function sequence_mt:next()
	local milliseconds = math.floor(self.now() * 1000);
	self.last = math.max(milliseconds << SEQUENCE_BITS, self.last + 1);
	return self.last;
end

local function xor(a, b)
	return string.pack(">i8", string.unpack(">i8", a) ~ string.unpack(">i8", b));
end

-- Gives the function that seals a position for its owner: the SIV construction of RFC 5297, with HMAC.
local function new_sealer(key)
	local tag_key, body_key = hmac(key, "stanzalake id tag"), hmac(key, "stanzalake id body");
	return function (owner, position)
		local plain = string.pack(">i8", position);
		local tag = hmac(tag_key, owner..plain):sub(1, 8);
		local body = xor(plain, hmac(body_key, owner..tag));
		return (base64(tag..body):gsub("[+/=]", URL_SAFE));
	end
end

return { new_sequence = new_sequence, new_sealer = new_sealer };

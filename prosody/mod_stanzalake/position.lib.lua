-- Positions, which give an archive its order, and the sealed ids that clients see of them (docs/protocol.md).

local hmac = require "util.hashes".hmac_sha256;
local base64 = require "util.encodings".base64;

local pack, unpack = string.pack, string.unpack;

local SEQUENCE_BITS = 16;
local ID_LENGTH = 22;
local URL_SAFE = { ["+"] = "-", ["/"] = "_", ["="] = "" };
local FROM_URL_SAFE = { ["-"] = "+", ["_"] = "/" };

local sequence_mt = {};
sequence_mt.__index = sequence_mt;

-- One sequence for a host, strictly increasing for each owner.
--   now: returns unix time in seconds; it may step back
--   last: the last position ever handed out
--   ahead: optional { last, owners }: owners, as keys, who go on behind a position ahead of the clock (see rewind)
local function new_sequence(now, last, ahead)
	return setmetatable({ now = now, last = last, ahead_owners = ahead }, sequence_mt);
end

function sequence_mt:next(owner)
	local milliseconds = math.floor(self.now() * 1000);
	local ahead = self.ahead_owners;
	local own = ahead and owner and ahead.owners[owner] and ahead or self;
	own.last = math.max(milliseconds << SEQUENCE_BITS, own.last + 1);
	return own.last;
end

-- Hands out a position that is above every other one, of any owner.
function sequence_mt:mark()
	local ahead = self.ahead_owners;
	local last = self:next();
	if not ahead then return last; end
	ahead.last = math.max(ahead.last, last) + 1;
	return ahead.last;
end

-- Returns by how many seconds the last position is ahead of the clock.
function sequence_mt:ahead()
	return math.max(0, (self.last >> SEQUENCE_BITS) / 1000 - self.now());
end

-- Gives the keys of an id's two halves.
local function halves_of(key)
	return hmac(key, "stanzalake id tag"), hmac(key, "stanzalake id body");
end

-- Gives the function that seals a position for its owner: the SIV construction of RFC 5297, with HMAC.
local function new_sealer(key)
	local tag_key, body_key = halves_of(key);
	return function (owner, position)
		local plain = pack(">i8", position);
		local tag = hmac(tag_key, owner..plain):sub(1, 8);
		local body = position ~ unpack(">i8", hmac(body_key, owner..tag));
		return (base64.encode(tag..pack(">i8", body)):gsub("[+/=]", URL_SAFE));
	end
end

-- Gives the function that returns the position of an id in its owner's archive, nil for an id that no key has sealed.
local function new_opener(keys)
	local sealers = {};
	for i, key in ipairs(keys) do
		sealers[i] = { seal = new_sealer(key), body_key = select(2, halves_of(key)) };
	end
	return function (owner, id)
		local raw = #id == ID_LENGTH and base64.decode(id:gsub("[-_]", FROM_URL_SAFE).."==");
		if not raw or #raw ~= 16 then return nil; end
		for _, key in ipairs(sealers) do
			local position = unpack(">i8", raw, 9) ~ unpack(">i8", hmac(key.body_key, owner..raw:sub(1, 8)));
			if key.seal(owner, position) == id then return position; end
		end
	end
end

return { new_sequence = new_sequence, new_sealer = new_sealer, new_opener = new_opener };

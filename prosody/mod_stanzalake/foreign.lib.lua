-- Refused requests: counts and logs who asked for an archive that is not theirs, or a room's that they may not read.

local new_throttle = module:require "throttle".new;

local xmlns_mam = "urn:xmpp:mam:2";

-- Returns a function that counts and logs a request.
local function new_recorder()
	local count = module:measure("forbidden", "counter", {
		description = "Requests for the archives of others, which were refused";
	});
	local is_due = new_throttle();
	return function (stanza)
		count(1);
		local due, left_out = is_due();
		if due then
			module:log("warn", "%s was refused the archive of %s (%d more refused since the last such line)",
				stanza.attr.from, stanza.attr.to, left_out);
		end
	end;
end

-- Records requests of accounts for each other's archives, and leaves the refusal to Prosody.
local function watch()
	local record = new_recorder();
	for _, name in ipairs { "query", "prefs", "metadata" } do
		module:hook("iq/bare/"..xmlns_mam..":"..name, function (event)
			if not event.to_self then record(event.stanza); end
		end, 1);
	end
end

return { new_recorder = new_recorder, watch = watch };

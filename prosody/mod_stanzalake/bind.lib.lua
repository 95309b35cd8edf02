-- Bind 2 (XEP-0386 §3.2): a session is told with its resource what its archive holds, so that its client knows whether
-- it missed anything. The events are those of mod_sasl2 and mod_sasl2_bind2; without these modules nobody fires them.

local async = require "util.async";
local jid = require "util.jid";

local xmlns_mam = "urn:xmpp:mam:2";

-- Seconds that a login waits for the archive; then it goes on without.
local MAX_WAIT = 2;
-- Requests of a login: a further one if a message was archived meanwhile.
local MAX_REQUESTS = 3;

local function on_advertise(data)
	data.features:tag("feature", { var = xmlns_mam }):up();
end

-- Requests the metadata until no message has come meanwhile: a client that has the last one reads no page.
local function ask(forwarder, owner, requests, answered)
	forwarder:ask_metadata(owner, function (metadata, is_current)
		if is_current or not metadata then return answered(metadata); end
		if requests == 1 then return answered(nil); end
		ask(forwarder, owner, requests - 1, answered);
	end);
end

-- Waits for the metadata of an archive, or for the end of the wait. Called in the session's thread.
local function metadata_of(forwarder, owner)
	local wait, done = async.waiter();
	local metadata, timer;
	local function finish(answer)
		if not done then return; end
		local resume = done;
		metadata, done = answer, nil;
		if timer then timer:stop(); end
		resume();
	end
	timer = module:add_timer(MAX_WAIT, function () finish(nil); end);
	ask(forwarder, owner, MAX_REQUESTS, finish);
	wait();
	return metadata;
end

-- Behind a resumption (mod_sasl2_sm), and before the resource is bound: a bound session could get messages meanwhile,
-- ahead of the answer to its login.
local function on_success(forwarder, data)
	local session = data.session;
	local sm_success = session.sasl2_sm_success;
	if not session.sasl2_bind_request or sm_success and sm_success.type == "resumed" then return; end
	if not async.ready() then return; end
	session.stanzalake_metadata = metadata_of(forwarder, jid.join(session.username, session.host));
	-- Nobody is there any more to bind a resource for.
	if session.destroyed then return true; end
end

-- As after a page, mod_offline then withholds what the archive has.
local function on_bind(data)
	local session = data.session;
	local metadata = session.stanzalake_metadata;
	if not metadata then return; end
	session.stanzalake_metadata, session.mam_requested = nil, true;
	data.result:add_child(metadata);
end

local function start(forwarder)
	module:hook("advertise-bind-features", on_advertise);
	module:hook("sasl2/c2s/success", function (data) return on_success(forwarder, data); end, 105);
	module:hook("enable-bind-features", on_bind);
end

return { start = start };

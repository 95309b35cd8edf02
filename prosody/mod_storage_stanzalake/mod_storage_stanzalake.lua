-- mod_storage_stanzalake: tells the archive which accounts prosodyctl removes.
--
-- Prosody purges a removed account from each storage driver of its configuration. That is all that prosodyctl does in
-- its own process, where none of the host's modules are loaded. In the server mod_stanzalake learns of it by itself.

local directory = module:require "mod_stanzalake/directory";
local inbox = module:require "mod_stanzalake/inbox";

local driver = {};

function driver.open()
	return nil, "unsupported-store";
end

function driver.purge(_, user)
	if prosody.process_type ~= "prosodyctl" or not directory.is_archived(module.host) then return true; end
	local owner = user.."@"..module.host;
	local ok, err = inbox.new(directory.of(module.host)):put {
		type = "erasure", owner = owner, account = true, by = "account removal";
	};
	if not ok then
		module:log("error", "The account is gone, its archive is not (%s). Once that is mended: "
			.."prosodyctl mod_stanzalake delete --account %s", err, owner);
	end
	return ok, err;
end

module:provides("storage", driver);

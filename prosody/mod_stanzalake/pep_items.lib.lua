-- Items that accounts of this host keep in PEP (XEP-0163).

local jid = require "util.jid";

-- Returns the items of a node as pep's services give them: a list of ids, and each item by its id. Empty without any.
local function read(owner, node)
	local pep = prosody.hosts[module.host].modules.pep;
	if not pep then return {}; end
	local ok, items = pep.get_pep_service(jid.node(owner)):get_items(node, true);
	return ok and items or {};
end

return { read = read };

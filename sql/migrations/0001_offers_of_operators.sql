-- Users that operators made before there was an offer count as having accepted it, as those made today do.
update makeready.users set offer_accepted_at = created_at where offer_accepted_at is null;

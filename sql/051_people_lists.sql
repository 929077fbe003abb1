-- People, looked at and shut out: what users see of themselves, and what staff do about users.

create or replace function makeready.tokens_of(person uuid, at_most integer default 200)
  returns table (token uuid, purpose text, made_at timestamptz, ends_at timestamptz)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select t.id, t.label, t.created_at, t.expires_at
    from makeready.tokens t
   where t.user_id = tokens_of.person and t.revoked_at is null and t.expires_at > makeready.now()
   order by t.created_at desc, t.id desc
   limit least(tokens_of.at_most, 1000)
$$;
comment on function makeready.tokens_of(uuid, integer) is 'Tokens of a user that count, newest first; nothing that would prove anybody.';

create or replace function makeready.token_revoke_of(person uuid, credential uuid, because text default null)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select coalesce(bool_or(makeready.token_revoke(t.id, token_revoke_of.because)), false)
    from makeready.tokens t
   where t.id = token_revoke_of.credential and t.user_id = token_revoke_of.person
$$;
comment on function makeready.token_revoke_of(uuid, uuid, text) is
  'Withdraws a token of this user. False: they have none with this id, or it was withdrawn before.';

create or replace function makeready.user_show(person uuid)
  returns setof makeready.users language sql stable security definer set search_path = ''
as $$ select u.* from makeready.users u where u.id = user_show.person $$;
comment on function makeready.user_show(uuid) is 'The user''s own row.';

create or replace function makeready.user_list(at_most integer default 50, older_than uuid default null, phone text default null)
  returns setof makeready.users
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select u.* from makeready.users u
   where (user_list.older_than is null or u.id < user_list.older_than) and (user_list.phone is null or u.phone_e164 = user_list.phone)
   order by u.id desc limit least(user_list.at_most, 1000)
$$;
comment on function makeready.user_list(integer, uuid, text) is 'Users, newest first, a page at a time; with a number only its owner.';

create or replace function makeready.user_set_disabled(person uuid, shut_out boolean, because text default null)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_user makeready.users;
begin
  select * into v_user from makeready.users u where u.id = person for no key update;
  if not found then
    raise exception 'there is no user %', coalesce(person::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person),
            hint = 'select id, name from makeready.users lists them.';
  end if;
  if (v_user.disabled_at is not null) = shut_out then
    return false;
  end if;
  update makeready.users u set disabled_at = case when shut_out then makeready.now() end where u.id = person;
  perform makeready.audit(case when shut_out then 'user_disable' else 'user_enable' end, person::text, null, null, because);
  return true;
end
$$;
comment on function makeready.user_set_disabled(uuid, boolean, text) is
  'Shuts a user out at once, or lets them in again with the tokens they had. False: nothing had to be changed.';

create or replace function makeready.user_sign_out(person uuid, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  if not exists (select from makeready.users u where u.id = person) then
    raise exception 'there is no user %', coalesce(person::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person),
            hint = 'select id, name from makeready.users lists them.';
  end if;
  update makeready.tokens t set revoked_at = makeready.now()
   where t.user_id = person and t.revoked_at is null and t.expires_at > makeready.now();
  get diagnostics v_count = row_count;
  perform makeready.audit('user_sign_out', person::text, null, jsonb_build_object('tokens', v_count), because);
  return v_count;
end
$$;
comment on function makeready.user_sign_out(uuid, text) is 'Withdraws all tokens of a user and says how many there were.';

grant execute on function makeready.user_show(uuid) to makeready_http;
grant execute on function
  makeready.tokens_of(uuid, integer), makeready.token_revoke_of(uuid, uuid, text), makeready.user_list(integer, uuid, text),
  makeready.user_set_disabled(uuid, boolean, text), makeready.user_sign_out(uuid, text)
to makeready_http, makeready_ops;

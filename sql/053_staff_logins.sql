-- Log-ins of staff: a password is asked for, a token is checked at each call. See 052_staff for what a token is.

-- The one place where a password hash leaves the database. An unknown and a disabled account look the same: no row; the
-- caller spends the same time on both. The try is counted first, or a hundred at once would all be judged.
create or replace function makeready.staff_credentials(called text, tried_from text)
  returns table (account uuid, digest text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform makeready.throttle_take('login_client', tried_from);
  perform makeready.throttle_take('login', called || ' ' || tried_from);
  return query
    select s.id, p.password_hash from makeready.staff s join makeready.staff_passwords p on p.staff_id = s.id
     where s.name = called and s.disabled_at is null;
end
$$;
comment on function makeready.staff_credentials(text, text) is
  'Counts a try to sign in, then gives the account and its password hash to compare with. MR429 rate_limited after too many.';

create or replace function makeready.staff_signed_in(member uuid, tried_from text, digest text default null)
  returns table (account_name text, account_role text, allowed text[], version integer)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff;
begin
  update makeready.staff s set signed_in_at = makeready.now() where s.id = member and s.disabled_at is null returning * into v_staff;
  if not found then
    return;
  end if;
  if digest is not null then
    update makeready.staff_passwords p set password_hash = digest, set_at = makeready.now() where p.staff_id = member;
  end if;
  perform makeready.throttle_clear('login', v_staff.name || ' ' || tried_from);
  perform set_config('makeready.address', tried_from, true);
  perform makeready.audit('staff_signed_in', member::text, null, jsonb_build_object('name', v_staff.name), null);
  return query select v_staff.name, v_staff.role, r.permissions, v_staff.token_version from makeready.staff_roles r where r.role = v_staff.role;
end
$$;
comment on function makeready.staff_signed_in(uuid, text, text) is
  'Notes that the right password was given and says what the token carries; no row when the account was disabled meanwhile. A digest replaces a hash of older parameters.';

-- Every request of staff passes here.
create or replace function makeready.staff_of_token(member uuid, at_version integer, login uuid)
  returns table (account_name text, account_role text, allowed text[])
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select s.name, s.role, r.permissions
    from makeready.staff s
    join makeready.staff_roles r on r.role = s.role
   where s.id = staff_of_token.member
     and s.token_version = staff_of_token.at_version
     and s.disabled_at is null
     and not exists (select from makeready.staff_sign_outs o where o.login_id = staff_of_token.login)
$$;
comment on function makeready.staff_of_token(uuid, integer, uuid) is
  'Whom a token of this account, version and id proves, and what they may do now; no row when it counts no more.';

create or replace function makeready.staff_sign_out(member uuid, login uuid, until timestamptz, everywhere boolean default false)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if everywhere then
    update makeready.staff s set token_version = s.token_version + 1 where s.id = member;
  else
    insert into makeready.staff_sign_outs (login_id, expires_at) values (login, until) on conflict do nothing;
  end if;
  perform makeready.audit('staff_sign_out', member::text, null, jsonb_build_object('everywhere', everywhere), null);
end
$$;
comment on function makeready.staff_sign_out(uuid, uuid, timestamptz, boolean) is
  'Ends one log-in of an account, or all of them.';

create or replace function makeready.staff_sweep(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer;
begin
  delete from makeready.staff_sign_outs o
   where o.login_id in (select x.login_id from makeready.staff_sign_outs x
                         where x.expires_at < v_now - interval '1 hour' order by x.expires_at limit max_rows for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.staff_sweep(integer) is 'Forgets ended log-ins whose tokens have expired by themselves.';
select makeready.chore_create('staff_sweep', '1 hour');

grant execute on function
  makeready.staff_credentials(text, text), makeready.staff_signed_in(uuid, text, text), makeready.staff_of_token(uuid, integer, uuid),
  makeready.staff_sign_out(uuid, uuid, timestamptz, boolean)
to makeready_http;
grant execute on function
  makeready.staff_add(text, text, text), makeready.staff_set_role(uuid, text, text), makeready.staff_set_password(uuid, text, text),
  makeready.staff_disable(uuid, text), makeready.staff_enable(uuid, text), makeready.staff_list(integer, uuid), makeready.staff_named(text)
to makeready_http, makeready_ops;

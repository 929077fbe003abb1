-- Staff: who may look after the system, and what each of them may do.
--
-- An account has a role, a role is a set of permissions. Nothing else decides: the token that a log-in gives carries
-- them for whoever reads it, but each call asks here again, so a role that was taken away counts no more at once.
--
-- A token names its account, the account's version and itself. Raising the version ends every log-in of the account; a
-- single one ends by its own id. Passwords are hashed before they come here, and lie apart from the accounts, where
-- nobody can read them.

create table if not exists makeready.staff_roles (
  role        text   not null constraint staff_roles_pk primary key,
  permissions text[] not null
);
comment on table makeready.staff_roles is 'What roles are made of.';
comment on column makeready.staff_roles.role is 'viewer, operator or admin.';
comment on column makeready.staff_roles.permissions is 'A part of the system and read or write; what includes writing includes reading.';

insert into makeready.staff_roles (role, permissions) values
  ('viewer', '{slots:read,stats:read,settings:read,render:read,posm:read,queues:read}'),
  ('operator', '{slots:read,slots:write,stats:read,stats:write,settings:read,render:read,render:write,posm:read,posm:write,queues:read,queues:write}'),
  ('admin', '{slots:read,slots:write,stats:read,stats:write,settings:read,settings:write,render:read,render:write,posm:read,posm:write,queues:read,queues:write,people:read,people:write,keys:read,keys:write}')
on conflict on constraint staff_roles_pk do update set permissions = excluded.permissions
 where staff_roles.permissions <> excluded.permissions;

create table if not exists makeready.staff (
  id            uuid        not null constraint staff_pk primary key,
  name          text        not null constraint staff_unique_name unique
                            constraint staff_name_is_plain check (name ~ '^[a-z0-9._-]{3,64}$'),
  role          text        not null constraint staff_fk_staff_roles references makeready.staff_roles,
  token_version integer     not null default 1,
  signed_in_at  timestamptz,
  disabled_at   timestamptz,
  created_at    timestamptz not null
);
create index if not exists staff_of_role on makeready.staff (role);
comment on table makeready.staff is 'Accounts of people who look after the system.';
comment on column makeready.staff.id is 'UUID version 7.';
comment on column makeready.staff.name is 'What they sign in with, and what the audit log calls them.';
comment on column makeready.staff.role is 'What they may do.';
comment on column makeready.staff.token_version is 'Tokens of another version count no more.';
comment on column makeready.staff.signed_in_at is 'The last log-in.';
comment on column makeready.staff.disabled_at is 'Since when they can do nothing; null: active.';
comment on column makeready.staff.created_at is 'When the account was made.';

create table if not exists makeready.staff_passwords (
  staff_id      uuid        not null constraint staff_passwords_pk primary key
                            constraint staff_passwords_fk_staff references makeready.staff on delete cascade,
  password_hash text        not null constraint staff_passwords_hash_is_argon2id check (starts_with(password_hash, '$argon2id$')),
  set_at        timestamptz not null
);
comment on table makeready.staff_passwords is 'Password hashes. No role reads this table.';
comment on column makeready.staff_passwords.staff_id is 'Whose it is.';
comment on column makeready.staff_passwords.password_hash is 'argon2id with its parameters and salt.';
comment on column makeready.staff_passwords.set_at is 'When the password was chosen, or hashed anew with other parameters.';

create table if not exists makeready.staff_sign_outs (
  login_id   uuid        not null constraint staff_sign_outs_pk primary key,
  expires_at timestamptz not null
);
create index if not exists staff_sign_outs_expired on makeready.staff_sign_outs (expires_at);
comment on table makeready.staff_sign_outs is 'Log-ins that were ended before their time.';
comment on column makeready.staff_sign_outs.login_id is 'Id of the token.';
comment on column makeready.staff_sign_outs.expires_at is 'When the token would have ended by itself; from then on the row serves nothing.';

create or replace function makeready.staff_find(account uuid)
  returns makeready.staff
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff;
begin
  -- Whoever changes an account holds the row of admin: two admins who disable each other take turns, and one stays.
  perform from makeready.staff_roles r where r.role = 'admin' for update;
  select * into v_staff from makeready.staff s where s.id = account for update;
  if not found then
    raise exception 'there is no staff account %', coalesce(account::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'staff_id', account),
            hint = 'select id, name from makeready.staff lists them.';
  end if;
  return v_staff;
end
$$;
comment on function makeready.staff_find(uuid) is 'The account, locked for a change; MR404 when there is none. Internal.';

create or replace function makeready.staff_refuse_role(new_role text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.staff_roles r where r.role = new_role) then
    raise exception 'there is no role %', coalesce(quote_literal(new_role), 'null')
      using errcode = 'MR422', detail = json_build_object('path', 'role'), hint = 'viewer, operator or admin.';
  end if;
end
$$;
comment on function makeready.staff_refuse_role(text) is 'Raises MR422 for a role that does not exist. Internal.';

create or replace function makeready.staff_keep_an_admin(leaving uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.staff s where s.role = 'admin' and s.disabled_at is null and s.id <> leaving) then
    raise exception 'nobody else could administer the system then'
      using errcode = 'MR409', detail = json_build_object('reason', 'last_admin', 'staff_id', leaving),
            hint = 'Make another admin first.';
  end if;
end
$$;
comment on function makeready.staff_keep_an_admin(uuid) is 'Raises MR409 when this account is the last active admin. Internal.';

create or replace function makeready.staff_add(called text, digest text, new_role text)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_id  uuid := makeready.uuid7();
  v_now timestamptz := makeready.now();
begin
  perform makeready.staff_refuse_role(new_role);
  if called is null or called !~ '^[a-z0-9._-]{3,64}$' then
    raise exception 'a staff name has 3 to 64 of the characters a-z 0-9 . _ -'
      using errcode = 'MR422', detail = json_build_object('path', 'name'), hint = 'For example anna.k';
  end if;
  insert into makeready.staff (id, name, role, created_at) values (v_id, called, new_role, v_now)
  on conflict on constraint staff_unique_name do nothing;
  if not found then
    raise exception 'the name % is taken', called
      using errcode = 'MR409', detail = json_build_object('reason', 'name_taken', 'name', called),
            hint = 'A disabled account keeps its name; enable it again.';
  end if;
  insert into makeready.staff_passwords (staff_id, password_hash, set_at) values (v_id, digest, v_now);
  perform makeready.audit('staff_add', v_id::text, null, jsonb_build_object('name', called, 'role', new_role), null);
  return v_id;
end
$$;
comment on function makeready.staff_add(text, text, text) is 'Makes a staff account out of a name, the argon2id hash of a password and a role.';

create or replace function makeready.staff_set_role(account uuid, new_role text, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff;
begin
  perform makeready.staff_refuse_role(new_role);
  v_staff := makeready.staff_find(account);
  if v_staff.role = new_role then
    return;
  end if;
  if v_staff.role = 'admin' and v_staff.disabled_at is null then
    perform makeready.staff_keep_an_admin(account);
  end if;
  update makeready.staff s set role = new_role where s.id = account;
  perform makeready.audit('staff_set_role', account::text, jsonb_build_object('role', v_staff.role),
                          jsonb_build_object('role', new_role), because);
end
$$;
comment on function makeready.staff_set_role(uuid, text, text) is
  'Gives a staff account another role, effective at its next call. MR409 for the last active admin.';

create or replace function makeready.staff_set_password(account uuid, digest text, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff := makeready.staff_find(account);
begin
  update makeready.staff_passwords p set password_hash = digest, set_at = makeready.now() where p.staff_id = account;
  update makeready.staff s set token_version = s.token_version + 1 where s.id = account;
  perform makeready.audit('staff_set_password', account::text, null, jsonb_build_object('name', v_staff.name), because);
end
$$;
comment on function makeready.staff_set_password(uuid, text, text) is
  'Gives a staff account another password, by its argon2id hash, and ends all its log-ins.';

create or replace function makeready.staff_disable(account uuid, because text default null)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff := makeready.staff_find(account);
begin
  if v_staff.disabled_at is not null then
    return false;
  end if;
  if v_staff.role = 'admin' then
    perform makeready.staff_keep_an_admin(account);
  end if;
  update makeready.staff s set disabled_at = makeready.now(), token_version = s.token_version + 1 where s.id = account;
  perform makeready.audit('staff_disable', account::text, null, jsonb_build_object('name', v_staff.name), because);
  return true;
end
$$;
comment on function makeready.staff_disable(uuid, text) is
  'Shuts a staff account out at once. False: it was disabled before. MR409 for the last active admin.';

create or replace function makeready.staff_enable(account uuid, because text default null)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_staff makeready.staff := makeready.staff_find(account);
begin
  if v_staff.disabled_at is null then
    return false;
  end if;
  update makeready.staff s set disabled_at = null where s.id = account;
  perform makeready.audit('staff_enable', account::text, null, jsonb_build_object('name', v_staff.name), because);
  return true;
end
$$;
comment on function makeready.staff_enable(uuid, text) is
  'Lets a disabled staff account in again, with the password it had. False: it was not disabled.';

create or replace function makeready.staff_list(at_most integer default 200, beyond uuid default null)
  returns setof makeready.staff
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select s.* from makeready.staff s
   where staff_list.beyond is null or s.id > staff_list.beyond order by s.id limit least(staff_list.at_most, 1000)
$$;
comment on function makeready.staff_list(integer, uuid) is 'Staff accounts, oldest first, a page at a time.';

create or replace function makeready.staff_named(called text)
  returns uuid
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_id uuid;
begin
  select s.id into v_id from makeready.staff s where s.name = called;
  if not found then
    raise exception 'there is no staff account %', coalesce(quote_literal(called), 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'name', called),
            hint = 'select name from makeready.staff lists them.';
  end if;
  return v_id;
end
$$;
comment on function makeready.staff_named(text) is 'The account of this name; MR404 when there is none.';

-- People: who may ask for work, and how they prove who they are.
--
-- A *user* owns sessions, packs and files. A *token* proves a user: a random secret that is shown once and kept only as
-- its SHA-256, so that nobody who reads this database can use it. A *session* is what a user is at about one topic, out of which
-- packs and artifacts come; ownership of both is decided by `sessions.user_id` and nowhere else.
--
-- The secret is made here, not by the caller: it never is a parameter, so no statement log can hold it. What comes back
-- for checking is its hash. An unknown, an expired and a revoked token look the same to the outside: no user.
--
-- Whoever orders has accepted the offer first. A user that an operator makes counts as one who has; who comes by
-- telephone (055_otp) accepts it by legal_offer_accept.

create table if not exists makeready.users (
  id                uuid        not null constraint users_pk primary key,
  name              text        not null constraint users_name_is_short check (length(name) between 1 and 200),
  phone_e164        text        constraint users_phone_is_e164 check (phone_e164 ~ '^\+[1-9][0-9]{6,14}$')
                                constraint users_unique_phone unique,
  offer_accepted_at timestamptz,
  disabled_at       timestamptz,
  created_at        timestamptz not null
);
comment on table makeready.users is 'People and programs that own packs and files. Staff accounts are not here.';
comment on column makeready.users.id is 'UUID version 7.';
comment on column makeready.users.name is 'What to call them.';
comment on column makeready.users.phone_e164 is 'Telephone number with country code: the log-in. Null: signs in by token only.';
comment on column makeready.users.offer_accepted_at is 'When the offer was accepted; null: not yet.';
comment on column makeready.users.disabled_at is 'Since when no token of theirs counts; null: active.';
comment on column makeready.users.created_at is 'When the user was made known.';

create table if not exists makeready.tokens (
  id          uuid        not null constraint tokens_pk primary key,
  user_id     uuid        not null constraint tokens_fk_users references makeready.users on delete cascade,
  secret_hash bytea       not null constraint tokens_unique_secret unique
                          constraint tokens_secret_is_a_sha256 check (octet_length(secret_hash) = 32),
  label       text        not null default '' constraint tokens_label_is_short check (length(label) <= 200),
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  revoked_at  timestamptz,
  constraint tokens_expires_after_creation check (expires_at > created_at)
);
create index if not exists tokens_of_user on makeready.tokens (user_id, created_at);
comment on table makeready.tokens is 'Bearer tokens. The secret itself is nowhere.';
comment on column makeready.tokens.id is 'Names the token without giving it away: for lists, logs and revocation.';
comment on column makeready.tokens.user_id is 'Whom it proves.';
comment on column makeready.tokens.secret_hash is 'SHA-256 of the secret''s characters. The secret has 244 random bits, so it needs no salt and no slow hash.';
comment on column makeready.tokens.label is 'What it is for, in the words of whoever made it.';
comment on column makeready.tokens.created_at is 'When it was made.';
comment on column makeready.tokens.expires_at is 'From when on it counts no more.';
comment on column makeready.tokens.revoked_at is 'When it was withdrawn.';

create table if not exists makeready.sessions (
  id         uuid        not null constraint sessions_pk primary key,
  user_id    uuid        constraint sessions_fk_users references makeready.users on delete cascade,
  topic      text        not null default '' constraint sessions_topic_is_short check (length(topic) <= 2000),
  created_at timestamptz not null,
  constraint sessions_unique_owner unique (id, user_id)
);
create index if not exists sessions_of_user on makeready.sessions (user_id, created_at);
comment on table makeready.sessions is 'What a user is at about one topic. Owns packs and artifacts; ownership is read here.';
comment on column makeready.sessions.id is 'UUID version 7.';
comment on column makeready.sessions.user_id is 'The owner. Null: enqueued from SQL for nobody; no HTTP client reaches it.';
comment on column makeready.sessions.topic is 'What it is about, as the user put it.';
comment on column makeready.sessions.created_at is 'When it began.';

create or replace function makeready.user_add(called text, phone text, accepted boolean)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_user uuid;
  v_now  timestamptz := makeready.now();
begin
  -- Two callers with one number get one user: the loser of the race reads the winner's row.
  insert into makeready.users (id, name, phone_e164, offer_accepted_at, created_at)
  values (makeready.uuid7(), called, phone, case when accepted then v_now end, v_now)
  on conflict on constraint users_unique_phone do nothing
  returning users.id into v_user;
  if v_user is null then
    select u.id into v_user from makeready.users u where u.phone_e164 = phone;
    return v_user;
  end if;
  perform makeready.audit('user_create', v_user::text, null, jsonb_build_object('name', called), null);
  return v_user;
end
$$;
comment on function makeready.user_add(text, text, boolean) is
  'The user with this telephone number, made known if need be; without a number always a new user. Internal.';

create or replace function makeready.user_create(called text, phone text default null)
  returns uuid language sql volatile security definer set search_path = ''
as $$ select makeready.user_add(user_create.called, user_create.phone, true) $$;
comment on function makeready.user_create(text, text) is
  'The user with this telephone number, made known if need be; without a number always a new user. A new one counts as having accepted the offer.';

create or replace function makeready.offer_accept(person uuid)
  returns timestamptz
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_at timestamptz;
begin
  update makeready.users u set offer_accepted_at = makeready.now()
   where u.id = person and u.offer_accepted_at is null returning u.offer_accepted_at into v_at;
  if not found then
    select u.offer_accepted_at into v_at from makeready.users u where u.id = person;
  end if;
  return v_at;
end
$$;
comment on function makeready.offer_accept(uuid) is
  'Notes that a user accepts the offer and says since when; the first time counts.';

create or replace function makeready.person_may_order(person uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if exists (select from makeready.users u where u.id = person and u.offer_accepted_at is null) then
    raise exception 'the offer has not been accepted'
      using errcode = 'MR403', detail = json_build_object('code', 'forbidden', 'needs', 'offer'),
            hint = 'POST /legal/offer/accept accepts it.';
  end if;
end
$$;
comment on function makeready.person_may_order(uuid) is
  'Raises MR403 for a user who has not accepted the offer. What is ordered for nobody needs no offer. Internal.';

create or replace function makeready.person_stays(person uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform from makeready.users u where u.id = person for key share;
  if not found and person is not null then
    raise exception 'there is no user %', person
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person),
            hint = 'select id, name from makeready.users lists them; makeready.user_create makes one.';
  end if;
end
$$;
comment on function makeready.person_stays(uuid) is
  'Locks a user against being forgotten; MR404 for one who is. Nobody stays, too. Call it before what is theirs is locked. Internal.';

create or replace function makeready.token_add(person uuid, purpose text, valid_for interval)
  returns table (token uuid, secret text, ends_at timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now    timestamptz;
  v_token  uuid := makeready.uuid7();
  v_secret text := 'mk_' || encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex');
begin
  -- Locked: tokens of one user are counted one maker after the other.
  perform from makeready.users u where u.id = person and u.disabled_at is null for no key update;
  if not found then
    raise exception 'there is no active user %', coalesce(person::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person),
            hint = 'select id, name from makeready.users lists them; makeready.user_create makes one.';
  end if;
  if valid_for is null or valid_for not between '1 second' and '10 years' then
    raise exception 'a token cannot be valid for %', coalesce(valid_for::text, 'null')
      using errcode = 'MR422', detail = json_build_object('valid_for', valid_for),
            hint = 'Between one second and ten years.';
  end if;
  v_now := makeready.now();
  -- The oldest give way: a log-in must not fail because earlier ones were never ended.
  update makeready.tokens t set revoked_at = v_now
   where t.id in (select x.id from makeready.tokens x where x.user_id = person and x.revoked_at is null and x.expires_at > v_now
                   order by x.created_at desc, x.id desc offset 99);
  insert into makeready.tokens (id, user_id, secret_hash, label, created_at, expires_at)
  values (v_token, person, sha256(convert_to(v_secret, 'UTF8')), left(coalesce(purpose, ''), 200), v_now, v_now + valid_for);
  perform makeready.audit('token_create', v_token::text, null,
                          jsonb_build_object('user_id', person, 'label', purpose, 'expires_at', v_now + valid_for), null);
  return query select v_token, v_secret, v_now + valid_for;
end
$$;
comment on function makeready.token_add(uuid, text, interval) is
  'Makes a bearer token for a user; its secret comes back this once. The hundredth but one and older of a user are revoked. Internal.';

create or replace function makeready.token_create(person uuid, purpose text default '', valid_for interval default '30 days')
  returns text language sql volatile security definer set search_path = ''
as $$ select a.secret from makeready.token_add(token_create.person, token_create.purpose, token_create.valid_for) a $$;
comment on function makeready.token_create(uuid, text, interval) is
  'Makes a bearer token for a user and returns its secret, this once. Only the hash is kept.';

-- Every request of a user passes here: one look-up by the unique hash.
create or replace function makeready.token_user(hash_sha256 bytea)
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select u.id
    from makeready.tokens t
    join makeready.users u on u.id = t.user_id
   where t.secret_hash = token_user.hash_sha256
     and t.revoked_at is null
     and t.expires_at > makeready.now()
     and u.disabled_at is null
$$;
comment on function makeready.token_user(bytea) is
  'The user whom the token with this SHA-256 proves; null when it is unknown, expired or revoked, or its user disabled.';

create or replace function makeready.token_revoke(credential uuid, because text default null)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  update makeready.tokens t set revoked_at = makeready.now() where t.id = credential and t.revoked_at is null;
  if not found then
    return false;
  end if;
  perform makeready.audit('token_revoke', credential::text, null, null, because);
  return true;
end
$$;
comment on function makeready.token_revoke(uuid, text) is
  'Withdraws a token from now on. False: there is none with this id, or it was withdrawn before.';

-- The HTTP service makes no token out of nothing: for whom, the caller's own token says.
create or replace function makeready.token_derive(hash_sha256 bytea, purpose text, valid_for interval)
  returns table (token uuid, secret text, ends_at timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if valid_for > '366 days' then        -- a year of intervals has 360
    raise exception 'a token that another one makes is valid for a year at most'
      using errcode = 'MR422', detail = json_build_object('valid_for', valid_for), hint = 'An operator may make one for ten.';
  end if;
  return query select a.* from makeready.token_add(makeready.token_user(hash_sha256), purpose, valid_for) a;
end
$$;
comment on function makeready.token_derive(bytea, text, interval) is
  'Makes another token for the user whom the one with this SHA-256 proves. MR404 when it proves nobody.';

create or replace function makeready.token_end(hash_sha256 bytea)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_token uuid;
begin
  select t.id into v_token from makeready.tokens t where t.secret_hash = hash_sha256;
  return v_token is not null and makeready.token_revoke(v_token, 'logged out');
end
$$;
comment on function makeready.token_end(bytea) is 'Withdraws the token with this SHA-256: its owner logs out.';

create or replace function makeready.session_create(person uuid, about text default '')
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  insert into makeready.sessions (id, user_id, topic, created_at)
  values (makeready.uuid7(), session_create.person, coalesce(session_create.about, ''), makeready.now())
  returning sessions.id
$$;
comment on function makeready.session_create(uuid, text) is 'Begins a session of a user; a null user makes one that nobody owns.';

create or replace function makeready.session_begin(person uuid, about text, request_key text default null)
  returns table (verdict text, session_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_new     uuid;
  v_verdict text := 'created';
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_new
      from makeready.request_take('user:' || person, 'session_begin', request_key, sha256(convert_to(about, 'UTF8')), 'render',
                                  makeready.uuid7()) t;
  end if;
  if v_verdict = 'created' then
    v_new := coalesce(v_new, makeready.uuid7());
    perform makeready.person_stays(person);
    insert into makeready.sessions (id, user_id, topic, created_at) values (v_new, person, about, makeready.now());
  end if;
  return query select v_verdict, v_new;
end
$$;
comment on function makeready.session_begin(uuid, text, text) is
  'Begins a session of a user; the same request key again answers with the same one.';

create or replace function makeready.session_topic(person uuid, in_session uuid)
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select s.topic from makeready.sessions s where s.id = session_topic.in_session and s.user_id = session_topic.person
$$;
comment on function makeready.session_topic(uuid, uuid) is 'What a session of this user is about; null when there is none of theirs.';

grant execute on function
  makeready.token_user(bytea), makeready.token_derive(bytea, text, interval), makeready.token_end(bytea),
  makeready.session_begin(uuid, text, text), makeready.session_topic(uuid, uuid), makeready.offer_accept(uuid)
to makeready_http;
grant execute on function
  makeready.user_create(text, text), makeready.token_create(uuid, text, interval), makeready.token_revoke(uuid, text)
to makeready_ops;

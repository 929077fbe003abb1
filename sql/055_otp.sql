-- One-time codes: a user proves a telephone number, and gets a token.
--
-- The code is made and sent by the service. Here comes only its MAC, keyed with a secret that this database does not
-- have: neither a backup nor a statement log gives a code away, and six digits could not be guessed from the MAC.
-- A number has one live code; it dies with its time, with its tries, with its first success, or when another is asked for.

create table if not exists makeready.otp_policy (
  only_row    boolean  not null default true constraint otp_policy_pk primary key
                       constraint otp_policy_is_one_row check (only_row),
  code_valid  interval not null default '5 minutes' constraint otp_policy_code_valid_is_short check (code_valid between '30 seconds' and '1 hour'),
  code_tries  integer  not null default 5 constraint otp_policy_code_tries_are_few check (code_tries between 1 and 10),
  token_valid interval not null default '30 days' constraint otp_policy_token_valid_is_sane check (token_valid between '1 minute' and '1 year')
);
comment on table makeready.otp_policy is 'What a one-time code is good for: one row. How often one may ask is in throttle_rules.';
comment on column makeready.otp_policy.only_row is 'Always true.';
comment on column makeready.otp_policy.code_valid is 'How long a code may be used.';
comment on column makeready.otp_policy.code_tries is 'How many tries a code bears.';
comment on column makeready.otp_policy.token_valid is 'How long the token is valid that a right code gives.';
insert into makeready.otp_policy (only_row) values (true) on conflict do nothing;

create table if not exists makeready.otp_codes (
  id         uuid        not null constraint otp_codes_pk primary key,
  phone_e164 text        not null constraint otp_codes_phone_is_e164 check (phone_e164 ~ '^\+[1-9][0-9]{6,14}$'),
  code_mac   bytea       not null constraint otp_codes_mac_is_sha256 check (octet_length(code_mac) = 32),
  tries_left integer     not null constraint otp_codes_tries_are_counted check (tries_left >= 0),
  expires_at timestamptz not null,
  ended_at   timestamptz
);
create unique index if not exists otp_codes_live on makeready.otp_codes (phone_e164) where ended_at is null;
create index if not exists otp_codes_expired on makeready.otp_codes (expires_at);
comment on table makeready.otp_codes is 'One-time codes that were asked for lately.';
comment on column makeready.otp_codes.id is 'UUID version 7.';
comment on column makeready.otp_codes.phone_e164 is 'Whose telephone got it.';
comment on column makeready.otp_codes.code_mac is 'HMAC-SHA-256 of number and code under a key of the service.';
comment on column makeready.otp_codes.tries_left is 'Tries that are left.';
comment on column makeready.otp_codes.expires_at is 'From when on it counts no more.';
comment on column makeready.otp_codes.ended_at is 'When it was used, or another one took its place.';

create or replace function makeready.otp_request(called_up text, mac bytea, tried_from text)
  returns timestamptz
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_policy makeready.otp_policy;
  v_until  timestamptz;
begin
  perform makeready.throttle_take('otp_request_client', tried_from);
  perform makeready.throttle_take('otp_request_phone', called_up);      -- locked until the end: one code a number
  select * into v_policy from makeready.otp_policy;
  v_until := makeready.now() + v_policy.code_valid;
  update makeready.otp_codes c set ended_at = makeready.now() where c.phone_e164 = called_up and c.ended_at is null;
  insert into makeready.otp_codes (id, phone_e164, code_mac, tries_left, expires_at)
  values (makeready.uuid7(), called_up, mac, v_policy.code_tries, v_until);
  return v_until;
end
$$;
comment on function makeready.otp_request(text, bytea, text) is
  'Puts a new code in the place of the number''s older one and says until when it counts. MR429 rate_limited after too many.';

create or replace function makeready.otp_verify(called_up text, mac bytea, tried_from text)
  returns table (person uuid, secret text, ends_at timestamptz, has_accepted boolean)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_code   makeready.otp_codes;
  v_policy makeready.otp_policy;
  v_user   makeready.users;
  v_id     uuid;
begin
  perform makeready.throttle_take('otp_verify_client', tried_from);
  perform makeready.throttle_take('otp_verify_phone', called_up);
  -- Of two who bring the same code the second waits here, and then finds it ended.
  select * into v_code from makeready.otp_codes c where c.phone_e164 = called_up and c.ended_at is null for update;
  if not found or v_code.tries_left = 0 or v_code.expires_at <= makeready.now() then
    return;
  end if;
  if v_code.code_mac <> mac then
    update makeready.otp_codes c set tries_left = c.tries_left - 1 where c.id = v_code.id;
    return;
  end if;
  update makeready.otp_codes c set ended_at = makeready.now() where c.id = v_code.id;
  v_id := makeready.user_add('telephone …' || right(called_up, 4), called_up, false);
  select * into v_user from makeready.users u where u.id = v_id for no key update;
  if v_user.disabled_at is not null then
    return;
  end if;
  perform makeready.throttle_clear('otp_verify_phone', called_up);
  select * into v_policy from makeready.otp_policy;
  return query
    select v_user.id, a.secret, a.ends_at, v_user.offer_accepted_at is not null
      from makeready.token_add(v_user.id, 'one-time code', v_policy.token_valid) a;
end
$$;
comment on function makeready.otp_verify(text, bytea, text) is
  'The user of this number, made known if need be, and a new token of theirs; no row when the code is wrong, used, expired or out of tries, or the user disabled. A code ends with its first success. MR429 rate_limited after too many.';

create or replace function makeready.otp_set(valid_for interval, tries_for_code integer, token_for interval, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.otp_policy;
begin
  select * into v_old from makeready.otp_policy for update;
  if valid_for is null or valid_for not between '30 seconds' and '1 hour' or tries_for_code is null or tries_for_code not between 1 and 10
     or token_for is null or token_for not between '1 minute' and '1 year' then
    raise exception 'a code is valid for 30 seconds to 1 hour, bears 1 to 10 tries, and its token is valid for 1 minute to 1 year'
      using errcode = 'MR422', detail = json_build_object('code_valid', valid_for, 'code_tries', tries_for_code, 'token_valid', token_for),
            hint = 'For example 5 minutes, 5, 30 days.';
  end if;
  update makeready.otp_policy set code_valid = valid_for, code_tries = tries_for_code, token_valid = token_for;
  perform makeready.audit('otp_set', 'otp_policy', to_jsonb(v_old) - 'only_row',
                          jsonb_build_object('code_valid', valid_for, 'code_tries', tries_for_code, 'token_valid', token_for), because);
end
$$;
comment on function makeready.otp_set(interval, integer, interval, text) is 'Changes what one-time codes are good for, effective at the next one.';

create or replace function makeready.otp_sweep(max_rows integer)
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
  delete from makeready.otp_codes c
   where c.id in (select x.id from makeready.otp_codes x where x.expires_at < v_now - interval '1 hour'
                   order by x.expires_at limit max_rows for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.otp_sweep(integer) is 'Forgets codes an hour after their time.';
select makeready.chore_create('otp_sweep', '10 minutes');

grant execute on function makeready.otp_request(text, bytea, text), makeready.otp_verify(text, bytea, text) to makeready_http;
grant execute on function makeready.otp_set(interval, integer, interval, text) to makeready_ops;

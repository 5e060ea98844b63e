-- Each minute as the sensors say it.
SELECT 'room' AS room_id, ts, temperature, humidity, light, co2, humidity_ratio FROM room

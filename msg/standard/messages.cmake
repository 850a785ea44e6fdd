# Build of one package of standard messages, where no ROS 2 installation has it. Names and fields, and therefore the type hashes,
# are those of the originals; only the messages that this package uses are there.
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
foreach(dependency IN LISTS dependencies)
  find_package(${dependency} REQUIRED)
endforeach()
include(${CMAKE_CURRENT_LIST_DIR}/drop_missing_includes.cmake)
rosidl_generate_interfaces(${PROJECT_NAME} ${interfaces} DEPENDENCIES ${dependencies})
ament_export_dependencies(rosidl_default_runtime ${dependencies})
ament_package()
